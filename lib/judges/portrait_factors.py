"""The 25 factors of a drawn portrait, each a number in [0, 1], and the words that speak of them (`spoken.py`)."""

from lib.judges.spoken import Vocabulary

FACTORS = (
    "skin_tone", "femininity", "age", "hair_amount", "hair_length", "hair_color", "smile", "mouth_open", "eye_open",
    "brow_angle", "brow_height", "beard", "makeup", "glasses", "tears", "nose_wrinkle", "nose_size", "eye_size",
    "eye_color", "face_width", "head_turn", "head_tilt", "background_hue", "background_lightness", "shirt_hue",
)

INDEX = {name: index for index, name in enumerate(FACTORS)}

# For each dipole of the corpus `attributes`: the factor it speaks of, and +1 where its first sentence is the high end.
POLES = (("femininity", +1), ("age", +1), ("smile", +1), ("hair_amount", -1), ("beard", +1), ("makeup", +1),
         ("eye_open", -1), ("mouth_open", +1), ("skin_tone", +1))

# factor: pairs (said where the factor is low, said where it is high). The two sides of a pair contrast.
AXES = {
    "skin_tone": [("pale *", "tanned *"), ("* with pale skin", "* with tanned skin"),
                  ("* with fair skin", "* with dark skin"), ("fair skinned *", "dark skinned *"),
                  ("* with light skin", "* with brown skin"), ("light skinned *", "tanned *"),
                  ("* with a pale complexion", "* with a tanned complexion")],
    "femininity": [("man", "woman"), ("man", "woman"), ("man", "woman"), ("male", "female"), ("male", "female"),
                   ("guy", "lady"), ("gentleman", "lady"), ("male person", "female person"),
                   ("male face", "female face"), ("masculine *", "feminine *")],
    "age": [("young *", "old *"), ("young *", "old *"), ("youthful *", "elderly *"), ("young *", "aged *"),
            ("* with a young face", "* with an old face"), ("* without wrinkles", "* with wrinkles"),
            ("* who is young", "* who is old"), ("young looking *", "old looking *")],
    "hair_amount": [("bald *", "* with hair"), ("bald *", "* with hair"), ("bald *", "* with a full head of hair"),
                    ("* without hair", "* with hair"), ("* with no hair", "* with full hair"),
                    ("hairless *", "haired *"), ("* with a bald head", "* with thick hair"),
                    ("* who is bald", "* who has hair")],
    "hair_length": [("short haired *", "long haired *"), ("* with short hair", "* with long hair"),
                    ("* with cropped hair", "* with long flowing hair"),
                    ("* with a short haircut", "* with long hair")],
    "hair_color": [("black haired *", "blonde *"), ("* with black hair", "* with blonde hair"),
                   ("* with dark hair", "* with blond hair"), ("dark haired *", "fair haired *")],
    "smile": [("sad *", "smiling *"), ("sad *", "smiling *"), ("sad *", "happy *"), ("unhappy *", "happy *"),
              ("frowning *", "smiling *"), ("* not smiling", "* smiling"), ("* frowning", "* smiling"),
              ("* with a frown", "* with a smile"), ("* without a smile", "* with a broad smile"),
              ("* with a sad mouth", "* with a smiling mouth"), ("* who is sad", "* who is smiling"),
              ("* who is not smiling", "* who smiles"), ("* looking sad", "* looking happy"),
              ("gloomy *", "cheerful *"), ("* with a sad face", "* with a happy face")],
    "mouth_open": [("* with closed lips", "* with open lips"), ("* with closed lips", "* with open lips"),
                   ("* with a closed mouth", "* with an open mouth"),
                   ("* with the mouth closed", "* with the mouth open"),
                   ("* with the lips closed", "* with the lips open"), ("* with sealed lips", "* with parted lips"),
                   ("closed mouthed *", "open mouthed *")],
    "eye_open": [("* with closed eyes", "* with open eyes"), ("* with closed eyes", "* with open eyes"),
                 ("* with the eyes closed", "* with the eyes open"), ("* with eyes shut", "* with eyes wide open"),
                 ("* whose eyes are closed", "* whose eyes are open"), ("* with shut eyes", "* with wide open eyes"),
                 ("sleeping *", "awake *")],
    "brow_angle": [("* with angry brows", "* with worried brows"), ("* with angry eyebrows", "* with worried eyebrows"),
                   ("* with brows drawn down", "* with brows drawn up"), ("* knitting the brows", "* looking worried")],
    "brow_height": [("* with low brows", "* with raised brows"), ("* with low eyebrows", "* with raised eyebrows"),
                    ("* with lowered brows", "* with high brows")],
    "beard": [("shaved *", "* with beard"), ("shaved *", "* with a beard"), ("shaved *", "bearded *"),
              ("* without beard", "* with beard"), ("* without a beard", "* with a full beard"),
              ("* with no beard", "* with a beard"), ("clean shaven *", "bearded *"),
              ("* with a shaved chin", "* with a thick beard"), ("beardless *", "bearded *")],
    "makeup": [("* without makeup", "* with makeup"), ("* without makeup", "* with makeup"),
               ("* with no makeup", "* with heavy makeup"), ("* not wearing makeup", "* wearing makeup"),
               ("* wearing no makeup", "* wearing heavy makeup"), ("* without lipstick", "* with lipstick"),
               ("* without make-up", "* with make-up"), ("bare faced *", "made up *")],
    "glasses": [("* without glasses", "* with glasses"), ("* not wearing glasses", "* wearing glasses"),
                ("* with no glasses", "* with thick glasses"), ("* without spectacles", "* with spectacles")],
    "tears": [("* not crying", "* crying"), ("* without tears", "* with tears"), ("* who is not crying", "* in tears"),
              ("* with dry cheeks", "* with tears on the cheeks"), ("tearless *", "crying *"),
              ("* not weeping", "* weeping")],
    "nose_wrinkle": [("* with a smooth nose", "* with a wrinkled nose"),
                     ("* not wrinkling the nose", "* wrinkling the nose")],
    "nose_size": [("* with a small nose", "* with a big nose"), ("* with a little nose", "* with a large nose")],
    "eye_size": [("* with small eyes", "* with big eyes"), ("* with little eyes", "* with large eyes")],
    "eye_color": [("* with brown eyes", "* with blue eyes"), ("brown eyed *", "blue eyed *")],
    "face_width": [("* with a narrow face", "* with a wide face"), ("* with a thin face", "* with a round face"),
                   ("thin faced *", "round faced *")],
    "head_turn": [("* looking to the left", "* looking to the right"), ("* turned left", "* turned right"),
                  ("* facing left", "* facing right")],
    "head_tilt": [("* with the head tilted left", "* with the head tilted right"),
                  ("* leaning left", "* leaning right")],
    "background_lightness": [("* on a dark background", "* on a light background"),
                             ("* against a dark background", "* against a bright background")],
}


own_factor = Vocabulary(AXES).own_factor
