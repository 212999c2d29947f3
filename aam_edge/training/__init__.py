"""The offline side: gaze data, losses, metrics, fitting and export. Nothing else imports it."""
