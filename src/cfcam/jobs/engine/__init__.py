"""The network's side of a job: batches that shrink when memory is short, lanes that work side by side."""
