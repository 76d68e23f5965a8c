"""From images to a metric's number: what is kept of generated images, what they are compared with, and how."""
