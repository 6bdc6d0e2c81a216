"""From a YAML or CSV file to a batch, with every problem of the file named at once."""
