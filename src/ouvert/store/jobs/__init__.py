"""Long work and what it reads and writes: jobs with their results, and kept files. docs/formats/jobs.md."""
