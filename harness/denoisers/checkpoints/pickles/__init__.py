"""Reading pickles that nobody vouches for: nothing from a file is imported, called or executed."""
