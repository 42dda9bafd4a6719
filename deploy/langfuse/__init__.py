"""What a Langfuse project is given for voice: configurations of scores, and a dashboard."""
