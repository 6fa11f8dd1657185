"""Motion (stage 1): speech -> landmarks of any face, trained once on many speakers."""
