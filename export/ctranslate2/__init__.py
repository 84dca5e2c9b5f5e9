"""CTranslate2's folders as a source of models: model.bin, what its variables mean, and its vocabularies."""
