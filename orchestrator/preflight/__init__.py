"""What can be known of films and files before anything is sent: the rules, and what they find."""
