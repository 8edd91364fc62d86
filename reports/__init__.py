"""Reports: HTML, Markdown, JUnit, JSON."""
