"""Inference (:8011): serves an engine over HTTP.  Knows nothing of when, why or on what the model is trained."""
