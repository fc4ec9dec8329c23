"""Step 7: what each task may reach becomes a content-addressed network profile, bound before it runs."""
