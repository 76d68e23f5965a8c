"""The pages: of a grid, of a search, and the index of all."""
