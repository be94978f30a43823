"""Our parts of the NLU pipeline and Rasa's conversation store."""
