"""Stories: who is in them, who says what to whom, and what then happens. Text in, annotations out."""
