"""The figures of a report: functions that draw on matplotlib axes, and the border that makes them SVG."""
