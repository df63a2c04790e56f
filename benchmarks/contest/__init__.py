"""The contest of all policies in three settings: instructions, raw text, and a hard one."""
