"""What is said of results: tables, pictures, the roofline, and the comparison with earlier ones."""
