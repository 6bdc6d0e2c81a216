"""Several hosts on one journal: what is queued for them, who works on what, and what they share."""
