# Seconds by stage as stacked bars, one a cell, and beside them the peak memory: of each stage a bar, of all a line.
#
#   data       CSV: cell, bar, load_s, calibrate_s, quantize_s, eval_s, load_mib, calibrate_mib, quantize_mib, eval_mib,
#              peak_mib
#   cell_ticks "'RTN' 0, 'AWQ' 1"; n of them; name_width: characters of the longest
#   longest    seconds of the longest bar; largest: most MiB
#   by_stage   whether any stage's MiB are known

unset title
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
set yrange [n - 0.4:-0.6]
eval 'set ytics ('.cell_ticks.') noenhanced font ",'.(name_width > 44 ? 8 : 10).'" scale 0'
set grid noytics xtics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
# Long names are set smaller.
left = 0.03 + (name_width > 44 ? 0.0076 : 0.0098) * name_width
middle = left + (by_stage ? 0.5 : 0.62) * (0.97 - left)
set tmargin at screen 1 - 40.0 / height
set bmargin at screen (96.0 + note_room) / height
set style fill solid 1 border rgb 'white'
set xtics nomirror out offset 0,0.3 font ',10'
# The largest of 1, 2, 5, 10, ... that gives at least two steps.
step(x) = (e = 10 ** floor(log10(x / 2.2)), x / 2.2 / e >= 5 ? 5 * e : x / 2.2 / e >= 2 ? 2 * e : e)
array stage = ['load', 'calibrate', 'quantise', 'evaluate']
array colour = ['#E69F00', '#CC79A7', '#0072B2', '#BBBBBB']
upto(k) = sum [j = 1:k] column(2 + j)

set multiplot
set lmargin at screen left
set rmargin at screen middle
set xrange [0:longest * 1.04]
set xlabel 'wall time (s)' offset 0,0.6 font ',11'
set key at screen 0.5, (40.0 + note_room) / height center center vertical Left reverse noenhanced maxrows 1 samplen 1.5 width 1 font ',10'
plot for [k = 1:4] data skip 1 using (0):2:(upto(k - 1)):(upto(k)):($2 - 0.36):($2 + 0.36) title stage[k] \
         with boxxyerror linecolor rgb colour[k], \
     keyentry with lines linecolor rgb 'black' linewidth 1.5 title by_stage ? 'peak of all' : ''
unset key
unset label 1
unset label 2
unset ytics
set lmargin at screen middle + (by_stage ? 0.05 : 0.03)
set rmargin at screen 0.97
set xrange [0:largest * 1.08]
set xlabel 'peak memory (MiB)' offset 0,0.6 font ',11'
set xtics 0, step(largest)
# The stages from above to below, in the order in which they stand in the bars of seconds.
if (by_stage) {
    plot for [k = 1:4] data skip 1 using (0):2:(0):(column(6 + k)):($2 + 0.2 * k - 0.6):($2 + 0.2 * k - 0.4) \
             with boxxyerror linecolor rgb colour[k], \
         data skip 1 using 11:($2 - 0.44):(0):(0.88) with vectors nohead linecolor rgb 'black' linewidth 1.5
} else {
    plot data skip 1 using 11:2 with points linecolor rgb 'black' pointtype 7 pointsize 0.6
}
unset multiplot
unset output
