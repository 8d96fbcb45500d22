"""Reports: a scorecard as text, page and picture."""
