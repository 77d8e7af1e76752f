"""How good the translations are: scores, behaviour, significance and what a study makes of them.

Nothing here imports torch, so `evokd score` works where it isn't installed.

scores        what computes BLEU, chrF and TER: sacreBLEU's; the nearest of several translations
degeneration  what a score hides: empty, copied, over-long, cut and looping outputs
significance  paired bootstrap and approximate randomisation, by sacreBLEU
comparison    all translations of a study → rows of scores, differences, gap closed
files         scores of plain files for plain files, as JSON or as a table
"""
