"""A day of a support workspace: forty mails, a model that is sometimes wrong, and what left."""
