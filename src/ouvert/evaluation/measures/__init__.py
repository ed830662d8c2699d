"""What is measured beside answers: what fewer bits cost."""
