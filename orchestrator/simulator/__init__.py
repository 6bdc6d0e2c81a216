"""A local MetaStudio and object store with faults, for the demo, the tests and rehearsals."""
