"""The inference service (:8011): serves one engine over HTTP, with every loaded iteration as a model."""
