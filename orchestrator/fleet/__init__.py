"""Several hosts on one journal: the queue, the workers that take entries from it, and the limits that they share."""
