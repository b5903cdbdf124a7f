# What all figures share: terminals, fonts, colours. Set `format` ('png' or 'svg'), `width` and `height` before loading
# this; a figure is made for print at 17 cm, where its 12 points are 8.5.
#
# Colours are Okabe and Ito's without their yellow (too pale on white), and two dark ones of Tol's, told apart by readers
# with any kind of colour vision; points and dashes differ as well, so that a print in grey is readable.

if (format eq 'png') {
    # cairo takes a point for more than a pixel, svg for one: 1.5 makes letters as large as the svg's.
    set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.5 linewidth 2 pointscale 2
} else {
    set terminal svg size width, height dynamic background 'white' font 'DejaVu Sans, Helvetica, Arial, sans-serif,12' fontscale 1.0
}
set encoding utf8

blue = '#0072B2'
vermillion = '#D55E00'
green = '#009E73'
grey = '#555555'
pale = '#DDDDDD'

# A method has one colour and one mark in every figure: the names are those of the tables. The turn-th curve of one
# method (from 0: other parameters, other widths) has the mark open or filled, or a cross, and another dash. A method that
# is not named here has those of its place among such ones in all_methods, the methods of the results in their order.
array method_name = ['RTN', 'GPTQ', 'AWQ', 'AWQ+GPTQ', 'OBQ', 'salient by activation', 'salient by weight', \
                     'salient at random', 'scale']
array method_shade = ['#777777', '#0072B2', '#D55E00', '#CC79A7', '#56B4E9', '#009E73', '#E69F00', '#882255', '#332288']
array method_full = [5, 7, 9, 15, 4, 11, 13, 6, 3]
array method_open = [4, 6, 8, 14, 4, 10, 12, 6, 3]
array other_shade = ['#AA4499', '#999933', '#661100', '#44AA99']
array other_full = [15, 13, 11, 9, 7]
array other_open = [14, 12, 10, 8, 6]
if (!exists('all_methods')) { array all_methods[1] = [''] }
method_at(name) = sum [k = 1:|method_name|] (method_name[k] eq name ? k : 0)
# Its place among the others, from 1; 0 where it is none of the results' ("others", which stands for several).
upto_it(name) = sum [k = 1:|all_methods|] (all_methods[k] eq name ? k : 0)
other_at(name) = upto_it(name) ? (sum [k = 1:upto_it(name)] (method_at(all_methods[k]) ? 0 : 1)) : 0
other_colour(k) = k ? other_shade[(k - 1) % 4 + 1] : '#000000'
other_mark(k, turn) = !k ? 3 : turn % 2 ? other_open[(k - 1) % 5 + 1] : other_full[(k - 1) % 5 + 1]
method_colour(name) = method_at(name) ? method_shade[method_at(name)] : other_colour(other_at(name))
method_mark(name, turn) = turn > 1 ? 1 + turn % 3 : !method_at(name) ? other_mark(other_at(name), turn) : \
                          turn % 2 ? method_open[method_at(name)] : method_full[method_at(name)]
array turn_dash = [1, 4, 3, 2, 5]
method_dash(turn) = turn_dash[int(turn) % 5 + 1]

# The i-th curve of a figure whose curves are no methods.
array series_colour = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#777777']
array series_point = [5, 7, 9, 11, 13, 4, 6, 8]
array series_dash = [1, 4, 3, 2, 5, 1, 4, 3]

# From dark to light in equal steps of lightness (viridis), so that it reads in grey, too.
viridis = "defined (0 '#440154', 1 '#482878', 2 '#3E4A89', 3 '#31688E', 4 '#26828E', 5 '#1F9E89', 6 '#35B779', " . \
          "7 '#6DCD59', 8 '#B4DE2C', 9 '#FDE725')"

set border 3 linecolor rgb grey
set tics nomirror out scale 0.6 textcolor rgb 'black'
set format x '%h' # gnuplot's own has a space in front, which pushes a number off its tick
set grid ytics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
set style fill solid noborder
set bars 0.6
set datafile separator ','
set datafile missing ''

# Blocks are numbers of their own: ticks at whole ones, eight of them at most.
block_step(n) = n <= 8 ? 1 : n <= 16 ? 2 : n <= 40 ? 5 : n <= 80 ? 10 : 20

# The note below the plot, its first line at note_at of the screen. One that is too long for a line goes on in others, for
# which the picture is higher by note_room: what stands over the note does so over those, too.
note_room = 14.0 * (|note_line| - 1)
note_at = (14.0 + note_room) / height
note = note_line[1]
do for [i = 2:|note_line|] { note = note."\n".note_line[i] }

# A key of key_rows rows below the plot, over the note: `eval key_below`. pngcairo sets it wider than svg does.
key_size = format eq 'png' ? 'samplen 2 width 0' : 'samplen 2.5 width 1'
key_below = 'set bmargin at screen (88.0 + note_room + 19 * key_rows) / height; ' . \
            'set key at screen 0.5, (30.0 + note_room + 9.5 * key_rows) / height center center vertical Left reverse noenhanced ' . \
            key_size . ' spacing 1.2 font ",11" maxrows key_rows'


set output output_file
set title heading noenhanced font ',13' offset 0,0.2
