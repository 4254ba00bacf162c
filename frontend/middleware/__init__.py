"""What surrounds every request: its deadline, authentication, rate and body limits, and the access log."""
