"""The pages: of a grid, of a search, of claims, and the index of all."""
