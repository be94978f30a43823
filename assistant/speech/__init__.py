"""Speech in (VAD, recognisers) and speech out (spoken text, synthesisers, prompt cache)."""
