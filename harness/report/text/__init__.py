"""What a report says: numbers, formulas, settings and sentences."""
