"""Checkpoints of other programs: one file a family, from what lies on disk to what our constructors need."""
