"""How good the translations are: scores, behaviour, significance and what a study makes of them.

Nothing here imports torch, so `evokd score` works where it isn't installed.

scores        what computes BLEU, chrF and TER: sacreBLEU's; the nearest of several translations
behaviour     what a score hides: empty, copied, other language, other numbers, cut, looping, …
significance  paired bootstrap, randomisation over pooled seeds, Holm, what can't be seen
comparison    all translations of a study → rows of scores, differences, gap closed
files         scores of plain files for plain files, as JSON or as a table
"""
