"""Step 7: what each task may reach becomes a network profile, in force before it runs."""
