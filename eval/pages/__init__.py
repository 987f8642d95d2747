"""HTML pages: templates and styles that tables, claims and the report share."""
