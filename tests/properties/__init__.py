"""Tests of the properties room, and the audit of its checkers on hand labels."""
