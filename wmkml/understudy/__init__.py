"""The understudy: the small bilingual model that ships with the project, and the recipe that made it."""
