# Perplexity against the fraction of input channels kept in FP16: one curve for each way to choose them, with intervals,
# between the lines of FP16 and RTN.
#
#   data                        CSV with a line of names: kept_percent, then ppl, low, high of each way
#   ways                        array of their names ("by activation")
#   output_file, heading, note  texts; note says what the bars are
#   x_ticks, y_ticks            "0.1, 1, 3"; y_ticks may be empty
#   x_low, x_high, y_low, y_high, y_log
#   fp16, rtn, rtn_low, rtn_high, has_fp16, has_rtn

set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set xlabel 'input channels kept in FP16 (%)' offset 0,0.3
set ylabel (y_log ? 'perplexity (log scale)' : 'perplexity') offset 0.5,0
set lmargin 9
set rmargin 8
key_rows = 1
eval key_below
set logscale x
set xrange [x_low:x_high]
set yrange [y_low:y_high]
eval 'set xtics ('.x_ticks.')'
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }

# Points of different curves at one fraction stand a little apart, so that their bars do not cover each other.
apart = 1.055
array dashes = [1, 4, 3]

if (has_rtn) {
    set object 1 rectangle from graph 0, first rtn_low to graph 1, first rtn_high behind fillcolor rgb pale fillstyle solid noborder
    set label 2 'RTN' at graph 1.01, first rtn left font ',11' textcolor rgb grey
    set arrow 2 from graph 0, first rtn to graph 1, first rtn nohead back linecolor rgb grey linewidth 1.3 dashtype 2
}
if (has_fp16) {
    set label 3 'FP16' at graph 1.01, first fp16 left font ',11'
    set arrow 3 from graph 0, first fp16 to graph 1, first fp16 nohead back linecolor rgb 'black' linewidth 1.3
}

plot for [i=1:|ways|] data skip 1 using ($1 * apart ** (i - 2)):(column(3 * i - 1)) notitle \
         with lines linecolor rgb method_colour('salient '.ways[i]) linewidth 1.6 dashtype dashes[i], \
     for [i=1:|ways|] data skip 1 using ($1 * apart ** (i - 2)):(column(3 * i - 1)):(column(3 * i)):(column(3 * i + 1)) \
         title 'chosen '.ways[i] with yerrorbars linecolor rgb method_colour('salient '.ways[i]) linewidth 1.3 \
         pointtype method_mark('salient '.ways[i], 0) pointsize 0.9
unset output
