"""Person: a talking video of one person -> one validated artefact that the other stages trust."""
