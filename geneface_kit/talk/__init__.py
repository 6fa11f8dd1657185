"""Talk: any recording, said by a prepared person, as a marked video."""
