"""What is known of each picture: its label, its patient, its ground truth."""
