# Perplexity against the group size, at even distances: one line a width and method.
#
#   data       CSV: method, w_bit, line, group_size, position, ppl, low, high
#   lines      array of the lines' names
#   x_ticks    '"32" 1, "64" 2'
#   n_sizes, y_low, y_high, y_log, y_ticks
#   fp16, has_fp16

set datafile missing NaN # a line goes on over points of other lines
set label 1 note noenhanced at screen 0.5, 14.0 / height center font ',10' textcolor rgb grey
set xlabel 'weights that share a scale (group size)' offset 0,0.3
set ylabel (y_log ? 'perplexity (log scale)' : 'perplexity') offset 0.5,0
set lmargin 9
set rmargin 8
key_rows = ceil(|lines| / 2.0)
eval key_below
set xrange [0.6:n_sizes + 0.4]
set yrange [y_low:y_high]
eval 'set xtics ('.x_ticks.')'
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }
if (has_fp16) {
    set label 3 'FP16' at graph 1.01, first fp16 left font ',11'
    set arrow 3 from graph 0, first fp16 to graph 1, first fp16 nohead back linecolor rgb 'black' linewidth 1.3
}

# Lines stand a little apart, so that their bars do not cover each other.
x(position, i) = position + 0.05 * (i - (|lines| + 1) / 2.0)

plot for [i=1:|lines|] data skip 1 using ($3 == i ? x($5, i) : NaN):6 notitle \
         with lines linecolor rgb series_colour[i] linewidth 1.5 dashtype series_dash[i], \
     for [i=1:|lines|] data skip 1 using ($3 == i ? x($5, i) : NaN):6:7:8 title lines[i] with yerrorbars \
         linecolor rgb series_colour[i] linewidth 1.2 pointtype series_point[i] pointsize 0.8
unset output
