"""The tables of a report, declared column by column."""
