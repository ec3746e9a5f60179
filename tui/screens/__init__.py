"""The four screens of the dashboard, help, and what they have in common."""
