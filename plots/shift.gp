# Distance from full precision, a line a cell: mean KL divergence with its bar, and how often another token is on top;
# seeds as circles.
#
#   data       CSV: cell, grid, line (from 0, downwards), method_number, seeds (0: one seed's own), seed, effective_bits,
#              kl_mean, kl_low, kl_high, changed_percent, ...
#   methods    array of the methods' names, which give colour and mark
#   lines, lines_2, bits   arrays: a cell's name, its second line or '', its stored bits; label_width: characters
#   x_low, x_high, x_log, x_ticks; share_low, share_high, share_ticks: percent
#   has_seeds

set datafile missing NaN
unset title
unset key
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 16.0 / height center font ',13'
label_end = 14 + 6.8 * label_width
bits_end = label_end + 44
gap = 30.0
panel = (width - bits_end - 10 - gap - 22) / 2
n_lines = |lines|
set label 4 'bits' at screen bits_end / width, graph 1 right offset 0,0.6 font ',11'
do for [i=1:n_lines] {
    two = strlen(lines_2[i]) > 0
    set label 10 + 3 * i lines[i] noenhanced at screen label_end / width, first i - 1 - 0.22 * two right font ',11'
    set label 11 + 3 * i lines_2[i] noenhanced at screen label_end / width, first i - 1 + 0.22 right font ',11'
    set label 12 + 3 * i bits[i] noenhanced at screen bits_end / width, first i - 1 right font ',11'
}
set yrange [n_lines - 0.4:-0.6]
set ytics 0, 1 format '' scale 0
set bmargin at screen (78.0 + note_room) / height
set tmargin at screen 1 - 52.0 / height
unset grid
set grid xtics ytics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
has(i, number) = int(column(4)) == i && (number ? column(5) > 0 : column(5) == 0)
end(column_number) = x_log && column(column_number) <= 0 ? x_low : column(column_number) # of a bar

set multiplot
set lmargin at screen (bits_end + 10) / width
set rmargin at screen (bits_end + 10 + panel) / width
set xlabel (x_log ? 'mean KL (nat, log scale)' : 'mean KL (nat)') offset 0,0.3
set xrange [x_low:x_high]
if (x_log) { set logscale x }
if (strlen(x_ticks)) { eval 'set xtics ('.x_ticks.')' }
# Seeds first: a row's own mark lies over them.
plot for [i=1:|methods|] data skip 1 using (has_seeds && has(i, 0) ? $8 : NaN):3 with points \
         linecolor rgb method_colour(methods[i]) linewidth 0.9 pointtype 6 pointsize 0.9, \
     for [i=1:|methods|] data skip 1 using (has(i, 1) ? $8 : NaN):3:(end(9)):(end(10)) with xerrorbars \
         linecolor rgb method_colour(methods[i]) linewidth 1.2 pointtype method_mark(methods[i], 0) pointsize 0.8
unset label
unset logscale x
set lmargin at screen (bits_end + 10 + panel + gap) / width
set rmargin at screen 1 - 22.0 / width
set xlabel 'other top token (% of tokens)' offset 0,0.3
set xrange [share_low:share_high]
eval 'set xtics ('.share_ticks.')'
plot for [i=1:|methods|] data skip 1 using (has_seeds && has(i, 0) ? $11 : NaN):3 with points \
         linecolor rgb method_colour(methods[i]) linewidth 0.9 pointtype 6 pointsize 0.9, \
     for [i=1:|methods|] data skip 1 using (has(i, 1) ? $11 : NaN):3 with points \
         linecolor rgb method_colour(methods[i]) linewidth 1.2 pointtype method_mark(methods[i], 0) pointsize 0.8
unset multiplot
unset output
