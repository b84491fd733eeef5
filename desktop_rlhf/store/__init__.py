"""The project's SQLite file: the only place that speaks SQL. Records go in and records come out."""
