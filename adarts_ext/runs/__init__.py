"""What searching and retraining share: a run's folder, options, training, records and result."""
