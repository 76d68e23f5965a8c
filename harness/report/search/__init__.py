"""The report of a hyperparameter search: from a study's slots and the fresh measurements of its best settings."""
