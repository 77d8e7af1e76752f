"""How good the translations are: scores, behaviour, significance and what a study makes of them.

Nothing here imports torch, so `evokd score` and `evokd compare` work where it isn't installed.

scores        BLEU, chrF and TER by sacreBLEU, with their signatures; reading of line files
degeneration  what a score hides: empty, copied, over-long, cut and looping outputs
significance  paired bootstrap and approximate randomisation, by sacreBLEU
comparison    all translations of a study → rows of scores, differences, gap closed
files         the same for plain files, as JSON or as a table
"""
