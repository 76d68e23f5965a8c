"""Training denoisers: the paper's training design space (Karras et al. 2022, Sec. 5, arXiv 2206.00364)."""

FOLDER = "results/training"
"""Where trainings keep states, logs and snapshots, and grids their networks; relative to the working directory."""
