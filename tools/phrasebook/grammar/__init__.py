"""The grammar behind the phrasebook: words, agreement and sentence patterns in three languages."""
