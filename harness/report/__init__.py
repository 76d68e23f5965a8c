"""The report: figures, tables and HTML, made of the rows in a store. Loads no torch."""
