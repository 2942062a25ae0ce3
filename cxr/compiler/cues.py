"""Words around the findings: what denies, doubts, places and grades them, and what is no finding at all."""

from __future__ import annotations

SIDES: dict[str, str] = {
    "left": "left, lt, l, left sided, left side, lt sided, left hand side, lhs, leftward",
    "right": "right, rt, r, right sided, right side, rt sided, right hand side, rhs, rightward",
    "bilateral": (
        "bilateral, bilaterally, both lung, both side, both, bilat, biapical, bibasilar, bibasal, bibasally, "
        "bihilar, on both side, right and left, left and right, both sided, each side"
    ),
}
SEVERITIES: dict[str, str] = {
    "mild": (
        "mild, mildly, trace, tiny, small, minimal, minimally, slight, slightly, minor, subtle, minute, "
        "faint, early, small volume, low grade, little, borderline, very small, smallish, trivial, "
        "small sized, trace amount of, mild degree of"
    ),
    "moderate": (
        "moderate, moderately, medium, medium sized, mild to moderate, small to moderate, mild moderate, moderate sized,"
        " moderate degree of, small moderate, mod, intermediate, moderate volume, mild to moderately"
    ),
    "severe": (
        "severe, severely, large, massive, marked, markedly, extensive, grossly, huge, tension, very large, "
        "large volume, moderate to large, moderate to severe, moderately large, moderately severe, big, "
        "giant, profound, large sized, sizable, sizeable, complete, advanced, moderate large, "
        "moderate severe, mod to large, mod large, considerable"
    ),
}
# Location, with the side where the word implies one.
LOCATIONS: dict[tuple[str, str | None], str] = {
    (
        "upper",
        None,
    ): "upper lobe, upper zone, upper lung, upper lung zone, upper lung field, upper field, upper, uz, ul",
    ("middle", None): (
        "middle lobe, mid zone, midzone, middle zone, mid lung, midlung, mid lung zone, mid lung field, mid, midlung zone,"
        " midfield, middle lung, middle"
    ),
    (
        "lower",
        None,
    ): "lower lobe, lower zone, lower lung, lower lung zone, lower lung field, lower field, lower, lz, ll",
    ("apical", None): "apical, apex, apices, apically, lung apex, lung apices, apicolateral, apical segment",
    ("apical", "bilateral"): "biapical",
    ("basal", None): (
        "basal, base, basilar, basally, lung base, basilar lung, infrahilar, basal segment, posterobasal, lower lobe base"
    ),
    ("basal", "bilateral"): "bibasilar, bibasal, bibasally",
    ("perihilar", None): "perihilar, hilar, hilum, hila, parahilar, central",
    ("perihilar", "bilateral"): "bihilar",
    ("peripheral", None): "peripheral, peripherally, subpleural",
    ("retrocardiac", None): "retrocardiac, retrocardiac region, retrocardiac area",
    ("lingula", "left"): "lingula, lingular, lingular segment, left lingula, left lingular",
    ("upper", "right"): "rul, right upper lobe, ruz",
    ("middle", "right"): "rml, right middle lobe, rmz",
    ("lower", "right"): "rll, right lower lobe, rlz",
    ("upper", "left"): "lul, left upper lobe, luz",
    ("middle", "left"): "lmz",
    ("lower", "left"): "lll, left lower lobe, llz",
    ("basal", "right"): "rt base, right base, right lung base, right basal, right basilar",
    ("basal", "left"): "lt base, left base, left lung base, left basal, left basilar",
}
STRUCTURES: dict[str, str] = {
    "heart": (
        "heart, heart size, cardiac silhouette, cardiac size, cardiac contour, cardiac shadow, heart shadow, heart and size, ctr,"
        " cardiothoracic ratio, cardiac outline, heart contour, heart border, cardiac border, size of the heart, cardiac"
    ),
    "cardiomediastinum": (
        "cardiomediastinal silhouette, cardiomediastinal contour, cardiomediastinum, cardiac and mediastinal silhouette,"
        " cardiac and mediastinal contour, heart and mediastinum, cardiomediastinal, cardiomediastinal outline"
    ),
    "mediastinum": "mediastinum, mediastinal contour, mediastinal silhouette, superior mediastinum, mediastinal, mediastinal width",
    "pleura": (
        "costophrenic angle, costophrenic sulcus, costophrenic sulci, cp angle, pleura, pleural space, pleural surface,"
        " costophrenic recess, pleural cavity"
    ),
    "lungs": "lung, lung field, lung parenchyma, parenchyma, lung volume, lung zone, lung apex and base",
    "bones": (
        "bone, bony, osseous, osseous structure, skeleton, skeletal, skeletal structure, bony structure, bony thorax, rib,"
        " spine, ribcage, rib cage, thoracic cage, bony skeleton, clavicle, musculoskeletal, thoracic spine, chest wall"
    ),
    "other": (
        "hilum and vessel, pulmonary vasculature, vasculature, pulmonary vessel, vascularity, "
        "pulmonary vascularity, diaphragm, hemidiaphragm, trachea, airway, soft tissue, upper abdomen, "
        "abdomen, aorta, aortic contour, hilar contour, hilar structure, aortic arch, aortic knob, stomach, "
        "hilar shadow, pulmonary artery, tip, lead, abdominal"
    ),
}
CUES: dict[str, str] = {
    "negation": (
        "no, not, without, denies, denied, deny, free of, free from, negative for, neg for, absence of, "
        "lack of, no evidence of, no sign of, without evidence of, resolution of, interval resolution of, "
        "ruled out for, neither, nil, none of, clear of, fails to show, no evidence for, "
        "no radiographic evidence of, no convincing evidence of, devoid of, does not show, do not see, "
        "no longer has, lacks, lacking, excludes, absent, zero, no indication of, minus, cannot see, "
        "no suggestion of, no features of, rather than, instead of, resolved, clearance of"
    ),
    "negated before": (
        "not seen, not present, not identified, not visualized, not visualised, not evident, not detected, not demonstrated, not noted,"
        " not appreciated, is absent, are absent, absent, excluded, is excluded, ruled out, has resolved, have resolved, resolved,"
        " is resolved, has cleared, have cleared, none, negative, not found, no longer seen, no longer present, no longer visible, unlikely,"
        " not visible, not apparent, is unlikely, no longer identified, has been ruled out, gone, neg, not observed, not there,"
        " has been excluded, completely resolved, is not seen, are not seen, false, not convincingly seen, thought unlikely, not likely"
    ),
    "doubt": (
        "possible, possibly, probable, probably, likely, suspected, suspect, suspicion of, suspicion for, "
        "suspicious for, concern for, concerning for, worrisome for, suggestive of, suggesting, suggest, "
        "may represent, may reflect, could represent, could reflect, might represent, may be, could be, "
        "might be, cannot exclude, can not exclude, cannot rule out, can not rule out, not exclude, "
        "questionable, question of, query, equivocal, rule out, evaluate for, eval for, assess for, eval, "
        "look for, looking for, to exclude, potential, presumed, presumably, most likely, perhaps, maybe, "
        "differential, ddx, differential include, differential diagnosis, raises concern for, "
        "raise concern for, raises the possibility of, likely represent, probably represent, may indicate, "
        "apparent, cannot entirely exclude, not entirely exclude, worry for, question, to rule out, "
        "to evaluate for, assess, evaluate, check for, checking for, concern of, consider, "
        "clinical concern for, suspicious of"
    ),
    "doubted before": (
        "cannot be excluded, can not be excluded, not excluded, is possible, is suspected, not ruled out, cannot be ruled out,"
        " is likely, is not excluded, is questioned, cannot be entirely excluded, suspected, cannot excluded, is a consideration,"
        " cannot be completely excluded, would be possible, possible, difficult to exclude, is a possibility, considered"
    ),
    "versus": "versus, vs, v s",
    "history": (
        "history of, hx of, hx, h o, known history of, past history of, past medical history of, pmh, pmhx, "
        "previous history of, prior history of, pmh of, background of, pmhx of, previous episode of, "
        "prior episode of"
    ),
    # These hold the word "no" and deny nothing.
    "plain": (
        "no change, no change in, no interval change, no interval change in, no significant change, "
        "no significant change in, not only, no significant interval change in, "
        "no significant interval change, no increase in, no decrease in, not significantly changed, "
        "not changed, no new change, without change, without change in, without significant change, "
        "not necessarily, no improvement in, no improvement, no worsening of, no doubt, not to mention, "
        "no appreciable change, no appreciable change in, no substantial change, little change in, "
        "no substantial change in, no prior, no previous, no comparison, no prior study, not rotated, "
        "no rotation, no reduction in, no relevant change, no progression of, not yet resolved, "
        "not resolved, not completely resolved, incompletely resolved, partially resolved, not improved, "
        "not fully resolved, body mass index, mass effect, no further change, ap window, normal variant, "
        "normal sinus rhythm, cap refill, status post, s p, no obvious change, no real change, heart rate, "
        "heart murmur, heart sound, heart attack, heart disease, air bronchogram, tb contact, "
        "cancer screening, cardiac arrest, cardiac surgery, mass screening, cardiac history, bone marrow, "
        "lung transplant, breast cancer, colon cancer, prostate cancer, not significantly different, "
        "similar to, abdominal mass, breast ca, ca breast, ca colon, renal failure, large bowel, "
        "poor inspiration, low lung volume, right handed, all right, right heart, left ventricle, "
        "left ventricular, right atrium, left atrium, cardiac catheterization, bone window, no motion, "
        "no artifact, no watermark, no text, no annotation, no marker, no label, no color, not blurry"
    ),
    "exception": "other than, except for, except, apart from, aside from, besides, but for, with the exception of, save for, with exception of, bar, excepting",
    "otherwise": "otherwise, other, else, further, additional, remainder, remaining, rest of the, the rest",
    "break": (
        "but, however, although, though, with, which, there is, there are, shows, showing, demonstrates, demonstrating, also, now,"
        " yet, while, whereas, plus, presents with, reveals, revealing, including, there remain, instead, having, suffering from,"
        " as well as, along with, together with, accompanied by, comes with, affected by, featuring, and now, despite"
    ),
    # What follows explains what was said, and is denied or doubted with it.
    "means": (
        "consistent with, compatible with, representing, in keeping with, reflecting, indicating, due to, because of, secondary to,"
        " caused by, to suggest"
    ),
    "and": "and",
    "or": "or, nor",
    "article": "a, an",
    "place": "in, at, on, of, over, within, involving, along, behind, near, into, throughout, to, from, under, seen in, noted in, noted at, affecting",
    "normal": (
        "normal, normally, clear, unremarkable, within normal limit, wnl, healthy, sharp, intact, not enlarged, preserved, upper limit of normal,"
        " at the upper limit of normal, top normal, top normal in size, within limit, not widened, normal limit,"
        " within the normal limit, disease free, grossly clear, grossly normal, undisplaced, normal in size, normal appearance, ok, fine,"
        " grossly unremarkable, well aerated, well expanded, clean, perfectly normal, normal size, satisfactory, without abnormality, normal looking"
    ),
    "quietly normal": "nad, nil acute, nothing acute, nil of note, nil focal, naf, nil significant, nil acute seen",
    "abnormality": "abnormality, finding, disease, process, pathology, abnormal finding, anything abnormal, change, illness, problem, diagnosis, abn, disorder",
    "acute": "acute, active, acutely, significant, focal, actionable, emergent, superimposed, gross",
    "enlarged": (
        "enlarged, enlargement, dilated, widened, widening, wide, increased in size, prominent, globular, "
        "increased, dilatation, expanded, above normal, broad, bulky, oversized"
    ),
    "portable": "portable, mobile, bedside, portable chest, port chest, port cxr, portably",
    "PA": "pa, posteroanterior, postero anterior, posterior anterior, pa chest, posterior to anterior",
    "AP": "ap, anteroposterior, antero posterior, anterior posterior, ap chest, anterior to posterior",
    "lateral": "lateral, lat",
    "view": (
        "view, film, radiograph, projection, cxr, xray, image, chest, x ray, radiography, imaging, xrays, picture"
    ),
    "erect": "erect, upright, standing, erect position",
    "semi-erect": "semi erect, semierect, semi upright, semiupright, semi recumbent, semirecumbent, semi supine, sitting, seated",
    "supine": "supine, lying, lying flat, recumbent, supine position",
    "decubitus": "decubitus, lateral decubitus, decub",
}
SYMPTOMS: dict[str, str] = {
    "dyspnea": (
        "sob, sobd, dyspnea, shortness of breath, short of breath, breathless, breathlessness, difficulty breathing, doe, respiratory distress,"
        " trouble breathing, tachypnea, tachypneic, dyspneic, respiratory failure, work of breathing, soboe"
    ),
    "fever": "fever, febrile, pyrexia, temp, temperature, pyrexial, high temperature, rigors, chills",
    "cough": "cough, coughing, productive cough, dry cough, sputum",
    "chest pain": "chest pain, cp, pleuritic pain, pleuritic chest pain, chest tightness, chest discomfort, thoracic pain",
    "hemoptysis": "hemoptysis, coughing blood, coughing up blood, bloody sputum",
    "hypoxia": "hypoxia, hypoxic, hypoxemia, hypoxemic, desaturation, desaturating, desat, desats, low sats, sats, spo2, oxygen requirement, low oxygen, cyanosis",
    "wheeze": "wheeze, wheezing, wheezy, asthma, asthmatic",
    "weight loss": "weight loss, loss of weight, anorexia",
    "night sweats": "night sweat, sweats",
    "trauma": "trauma, fall, fell, mvc, mva, rta, rtc, motor vehicle accident, motor vehicle collision, stab wound, gunshot wound, gsw, assault, injury",
    "sepsis": "sepsis, septic, septic shock",
    "leukocytosis": "leukocytosis, elevated wbc, raised crp, elevated white count, raised wcc, raised inflammatory markers, wbc",
    "confusion": "confusion, confused, altered mental status, ams, delirium, altered",
    "weakness": "weakness, fatigue, lethargy, malaise, tired, tiredness",
    "syncope": "syncope, collapsed at home, faint at home, dizziness, loss of consciousness",
    "tachycardia": "tachycardia, tachycardic, palpitations",
    "abdominal pain": "abdominal pain, abdo pain, epigastric pain, stomach ache",
    "vomiting": "vomiting, nausea, n v, vomited",
    "crackles": "crackles, rales, crepitations, creps, decreased breath sounds, reduced air entry, reduced breath sounds",
}
AGE_GROUPS: dict[str, str] = {
    "neonate": "neonate, newborn, neonatal, preterm, premature infant, premature baby, premie, term baby, newborn baby",
    "infant": "infant, baby",
    "teenage": "teenage, teenager, adolescent, teen, teenaged",
    "child": "child, toddler, pediatric, paediatric, kid, children, schoolchild, boy, girl",
    "young": "young, young adult, youth",
    "middle-aged": "middle aged, middle age",
    "elderly": "elderly, geriatric, old age, old man, old woman, old lady, old gentleman, old male, old female, old patient, older man, older woman, older patient, older adult, senior citizen, oap",
}
SEXES: dict[str, str] = {
    "F": "female, woman, women, lady, girl, she, her, hers, mrs, ms, miss, f, pregnant, mother, fem, gravid, herself, schoolgirl, grandmother, housewife, wf, bf",
    "M": "male, man, men, gentleman, boy, he, his, him, mr, m, father, guy, himself, schoolboy, grandfather, gent, wm, bm",
}
# Words that carry nothing for the image; whatever is in no list is named as not understood.
FILLERS = (
    "the this that these those is are was were be been being it its as by for from than then there here up out off per via into"
    " patient pt person adult subject individual human people case year yr yo old age aged month week day mo wk y o d year olds"
    " chest thorax thoracic hemithorax x ray xray cxr radiograph radiography radiographic radiogram film image imaging picture photo photograph scan"
    " frontal view views projection study exam examination series plain conventional digital medical clinical hospital"
    " finding findings impression indication history comparison technique conclusion report reason clinical information label labels"
    " gender sex age view findings diagnosis prompt please make me generate create draw give show show want need i you we my your"
    " synthetic realistic photo high quality detailed resolution good best very well more less most some mainly predominantly predominant"
    " noted seen identified present visible visualized demonstrated evident again redemonstrated appears appear appearing appearance"
    " stable unchanged new worsening worse worsened improving improved improvement interval increased increase increasing decreased decrease decreasing"
    " resolving persistent chronic acute subacute old recent healed prior previous current since compared comparison today yesterday now"
    " likely adjacent associated compressive underlying overlying focal multifocal diffuse diffusely scattered patchy hazy confluent dense"
    " multiple single solitary several few numerous loculated layering free simple complex calcified spiculated rounded round linear"
    " region area aspect portion zone zones field fields lobe lobes segment segments side sides level greater than lung lungs pulmonary pleural"
    " cardiopulmonary cardiac intrathoracic cardiothoracic bronchopulmonary evidence sign signs definite definitely obvious overt frank large"
    " place placed tip terminates projects projecting position positioned carina svc diaphragm below above between about approximately"
    " s p sp status post admitted admission icu ed er ward day days pod post op postop operative preop pre"
    " white black hispanic asian caucasian african american race ethnicity"
    " cm mm x number cause disease known acute-on-chronic complication complicated type style dr doctor radiologist"
    " size enlarged contour measuring measures one two three four five six seven eight nine ten first second third fourth fifth sixth seventh"
    " so if when who whom whose what where how can could may might will would should do does did not yes any all other"
    " clinically history smoker smoking pack non ex former heavy limit limits tissue otherwise overall remain remains both"
    " background known setting context related possibly given based upon using via"
)
